/* Asks for two pages where the test allows one, and takes the refusal well. */
#include <sys/ipc.h>
#include <sys/shm.h>

int main(void)
{
	return shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600) != -1;
}
