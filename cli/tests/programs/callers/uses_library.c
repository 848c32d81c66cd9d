/* Makes a segment in a function that a library calls. */
#include <stddef.h>
#include <sys/shm.h>

int with_library(int (*made)(int), int size);

static int make(int size)
{
	return shmget(IPC_PRIVATE, size, IPC_CREAT | 0600) + 0 * size; /* make */
}

int main(void)
{
	return shmctl(with_library(make, 4096), IPC_RMID, NULL); /* main */
}
