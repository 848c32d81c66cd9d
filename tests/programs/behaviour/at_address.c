/* shmat at addresses: rounding, overlap, SHM_REMAP. */
#include "trace.h"

int main(void)
{
	int shmid = private_segment(2 * PAGE, 0600);
	long shmlba = SHMLBA;
	char *room = mmap(NULL, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(room + 4 * PAGE, 8 * PAGE); /* a hole that is ours to use */
	char *hole = room + 4 * PAGE;
	printf("SHMLBA %ld\n", shmlba);

	T(shmat(shmid, hole + 1, 0));
	char *at = TP(shmat(shmid, hole, 0));
	printf("there: %d\n", at == hole);
	T(shmat(shmid, hole, 0));
	T(shmat(shmid, hole + PAGE, 0));
	T(shmat(shmid, hole - PAGE, 0));
	T(shmdt(hole));

	at = TP(shmat(shmid, hole + PAGE + 123, SHM_RND));
	printf("rounded down: %d\n", at == hole + PAGE);
	T(shmdt(hole + PAGE + 123));
	T(shmdt(at));

	T(shmat(shmid, NULL, SHM_REMAP));
	T(shmat(shmid, (void *)1, SHM_REMAP | SHM_RND));
	T(shmat(shmid, hole + 1, SHM_REMAP));
	at = TP(shmat(shmid, NULL, SHM_RND));
	T(shmdt(at));
	at = TP(shmat(shmid, hole - PAGE, SHM_REMAP));
	printf("over a mapping: %d\n", at == hole - PAGE);
	strcpy(at, "first");
	int other = private_segment(PAGE, 0600);
	char *over = TP(shmat(other, at, SHM_REMAP));
	printf("over an attach: %d, first byte %d\n", over == at, over[0]);
	printf("attaches: %ld and %ld\n", nattch(shmid), nattch(other));
	T(shmdt(over));
	printf("attaches: %ld and %ld\n", nattch(shmid), nattch(other));
	T(shmdt(over));
	printf("attaches: %ld and %ld\n", nattch(shmid), nattch(other));

	/* beyond user space, around the end of the address space, and the first page */
	T(shmat(shmid, (void *)(1UL << 62), 0));
	T(shmat(shmid, (void *)~0xfffUL, 0));
	at = TP(shmat(shmid, (void *)1, SHM_RND));
	if (at != FAILED) {
		printf("at zero: %d\n", at == NULL);
		T(shmdt(at));
	}
	/* the checks of the address come before the look-up, and both before removal */
	T(shmat(shmid + 1, hole + 1, 0));
	T(shmat(-1, hole + 1, 0));
	T(shmctl(other, IPC_RMID, NULL));
	T(shmctl(shmid, IPC_RMID, NULL));
	T(shmat(shmid, hole, 0));
	return 0;
}
