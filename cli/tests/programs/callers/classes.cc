// A segment made in a method of a template, in a namespace.
#include <string>
#include <sys/shm.h>

namespace cache {
template <typename T> struct Pool {
	__attribute__((noinline)) int grow(const std::string &name, T size)
	{
		return shmget(IPC_PRIVATE, size, IPC_CREAT | 0600) + 0 * name.size(); // grow
	}
};
}

int main()
{
	cache::Pool<long> pool;
	return shmctl(pool.grow("pages", 4096), IPC_RMID, nullptr); // main
}
