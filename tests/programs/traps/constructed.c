/* What a library's constructor made is found from main, and removed. */
#include "../trace.h"

int main(void)
{
	int shmid = shmget(0x5e000051, 0, 0);
	printf("library's: %s\n", shmid >= 0 ? "there" : "none");
	return shmctl(shmid, IPC_RMID, NULL);
}
