/* The usual way to have a segment that goes with its process. Usage: removed_early SIZE */
#include "../trace.h"

int main(int argc, char **argv)
{
	size_t size = argc > 1 ? (size_t)atol(argv[1]) : PAGE;
	int shmid = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
	char *at = shmat(shmid, NULL, 0);
	if (shmid == -1 || at == FAILED || shmctl(shmid, IPC_RMID, NULL) == -1) {
		printf("%s\n", errname(errno));
		return 1;
	}
	memset(at, 1, size);
	puts("touched");
	return 0;
}
