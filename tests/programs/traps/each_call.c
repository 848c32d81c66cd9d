/* Each call once, on what is there: for refusals. A refused call must not have been made. */
#include "../trace.h"

int main(void)
{
	int shmid = (int)T(shmget(0x5e000052, PAGE, IPC_CREAT | 0600));
	void *at = TP(shmat(shmid, NULL, 0));
	T(shmdt(at));
	T(shmctl(shmid, IPC_RMID, NULL));
	T(ftok("/", 1) == -1 ? -1 : 0);
	puts("alive");
	return 0;
}
