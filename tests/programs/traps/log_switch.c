/* shmgate_log: on to a file, off again, and targets that are none. Usage: log_switch FILE */
#include "../trace.h"
#include <dlfcn.h>

int main(int argc, char **argv)
{
	static char long_path[10000];
	int (*log)(const char *);
	*(void **)&log = dlsym(RTLD_DEFAULT, "shmgate_log");
	if (argc < 2 || !log)
		return 1;
	memset(long_path, 'a', sizeof long_path - 1);
	shmget(0x5e000073, 1, 0);
	printf("on: %d\n", log(argv[1]));
	shmget(0x5e000072, 1, 0);
	printf("off: %d\n", log("off"));
	shmget(0x5e000074, 1, 0);
	printf("empty: %d\n", log(""));
	shmget(0x5e000075, 1, 0);
	log(argv[1]);
	printf("NULL: %d\n", log(NULL));
	shmget(0x5e000076, 1, 0);
	errno = 0;
	printf("too long: %s\n", log(long_path) == -1 ? errname(errno) : "taken");
	return 0;
}
