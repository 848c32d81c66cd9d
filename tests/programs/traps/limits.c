/* Calls under a limit of file size, and after it. Usage: limits CALLS. A signal of ours would end the program. */
#include "../trace.h"
#include <sys/resource.h>

int main(int argc, char **argv)
{
	struct rlimit before, none;
	long calls = argc > 1 ? atol(argv[1]) : 100, bad = 0;
	getrlimit(RLIMIT_FSIZE, &before);
	none = before;
	none.rlim_cur = 0;
	setrlimit(RLIMIT_FSIZE, &none);
	for (long i = 0; i < calls; i++) {
		errno = 0;
		bad += shmget(0x5e000069, PAGE, 0600) != -1 || errno != ENOENT;
	}
	setrlimit(RLIMIT_FSIZE, &before);
	printf("bad: %ld\n", bad);
	return 0;
}
