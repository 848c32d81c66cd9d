/* A new segment is zeros, whatever others of its size have left. */
#include "trace.h"
#include <sys/mman.h>

#define ROUNDS 300

/* Fills a segment once it is seen to be empty, in one order of removal and detach or the other; returns the bytes that were not 0. */
static long fill(size_t size, int removed_first, int attaches)
{
	long full = 0;
	int shmid = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
	char *at[2];
	for (int i = 0; i < attaches; i++)
		at[i] = shmat(shmid, NULL, 0);
	for (size_t i = 0; i < size; i++)
		full += at[attaches - 1][i] != 0;
	memset(at[0], 1, size);
	if (removed_first)
		shmctl(shmid, IPC_RMID, NULL);
	for (int i = 0; i < attaches; i++)
		shmdt(at[i]);
	if (!removed_first)
		shmctl(shmid, IPC_RMID, NULL);
	return full;
}

int main(void)
{
	static const size_t sizes[] = {1, PAGE, PAGE + 1, 5 * PAGE};
	for (unsigned size = 0; size < sizeof sizes / sizeof *sizes; size++) {
		long full = 0;
		for (int round = 0; round < ROUNDS; round++)
			full += fill(sizes[size], round % 2, 1 + round / 2 % 2);
		printf("size %zu: %ld bytes\n", sizes[size], full);
	}
	/* Where pages are locked, too. */
	long full = 0;
	printf("mlockall: %d\n", mlockall(MCL_FUTURE));
	for (int round = 0; round < ROUNDS; round++)
		full += fill(PAGE, round % 2, 1);
	printf("locked: %ld bytes\n", full);
	return 0;
}
