/* RLIMIT_MEMLOCK is a limit of all that a user has locked, not of each segment. Needs root, for a user that nobody else is. */
#include "trace.h"
#include <sys/resource.h>

static int pages(int count)
{
	return private_segment((size_t)count * PAGE, 0600);
}

int main(void)
{
	uid_t nobody_else = 60000 + (uid_t)getpid() % 5000;
	struct rlimit limit = {5 * PAGE, 8 * PAGE};
	if (geteuid() != 0) {
		puts("not root");
		return 0;
	}
	T(setresuid(nobody_else, nobody_else, nobody_else));
	setrlimit(RLIMIT_MEMLOCK, &limit);
	int three = pages(3), two = pages(2), one = pages(1), six = pages(6);
	T(shmctl(six, SHM_LOCK, NULL));
	T(shmctl(three, SHM_LOCK, NULL));
	T(shmctl(two, SHM_LOCK, NULL));
	T(shmctl(one, SHM_LOCK, NULL));
	T(shmctl(three, SHM_LOCK, NULL));
	T(shmctl(two, SHM_UNLOCK, NULL));
	T(shmctl(one, SHM_LOCK, NULL));
	T(shmctl(two, SHM_LOCK, NULL));
	limit.rlim_cur = 6 * PAGE;
	setrlimit(RLIMIT_MEMLOCK, &limit);
	T(shmctl(two, SHM_LOCK, NULL));
	/* what is gone is not locked, nor counted */
	T(shmctl(six, SHM_LOCK, NULL));
	T(shmctl(three, IPC_RMID, NULL));
	T(shmctl(two, IPC_RMID, NULL));
	T(shmctl(one, IPC_RMID, NULL));
	T(shmctl(six, SHM_LOCK, NULL));
	T(shmctl(six, IPC_RMID, NULL));
	return 0;
}
