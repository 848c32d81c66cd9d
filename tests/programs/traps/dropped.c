/* A daemon that root starts: another user's, its argument, before its first call. */
#include "../trace.h"

int main(int argc, char **argv)
{
	T(setuid(argc > 1 ? (uid_t)atoi(argv[1]) : 0));
	int shmid = (int)T(shmget(0x5e000056, PAGE, IPC_CREAT | 0600));
	void *at = TP(shmat(shmid, NULL, 0));
	T(shmdt(at));
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
