/* Makes a segment three functions deep, in frames of several kinds, and removes it in main. */
#include <alloca.h>
#include <string.h>
#include <sys/shm.h>

__attribute__((noinline)) int make(int size)
{
	int id = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600); /* make */

	return id + (size == 0);
}

/* Its arguments are found by another register than the stack's. */
__attribute__((noinline)) int aligned(int size)
{
	char wide[256] __attribute__((aligned(64)));
	char *more = alloca(size);

	memset(wide, size, sizeof wide);
	memset(more, 1, size);
	return make(size + wide[3] - (char)size + more[2] - 1); /* aligned */
}

__attribute__((noinline)) int large(int size)
{
	volatile char room[70000];

	room[0] = room[69999] = 0;
	return aligned(size + room[0]) + room[69999]; /* large */
}

int main(void)
{
	int id = large(4096); /* main */

	return shmctl(id, IPC_RMID, NULL); /* remove */
}
