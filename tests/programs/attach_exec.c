/* SHM_EXEC: whether what a segment holds can be executed. */
#include "trace.h"

int main(void)
{
	int shmid = private_segment(PAGE, 0700);
	char *at = TP(shmat(shmid, NULL, SHM_EXEC));
	if (at != FAILED) {
		at[0] = (char)0xc3; /* ret */
#ifdef __x86_64__
		((void (*)(void))(uintptr_t)at)();
#endif
		T(shmdt(at));
	}
	T(shmat(shmid, NULL, SHM_EXEC | SHM_RDONLY) == FAILED ? -1 : 0);
	char *low = TP(shmat(shmid, (void *)PAGE, SHM_EXEC | SHM_REMAP));
	if (low != FAILED)
		T(shmdt(low));
	at = TP(shmat(shmid, NULL, 0));
	at[1] = 1;
	printf("nattch %ld\n", nattch(shmid));
	T(mprotect(at, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
