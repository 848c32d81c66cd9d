/* Calls from another working directory than that of the start. Usage: elsewhere CALLS */
#include "../trace.h"

int main(int argc, char **argv)
{
	long calls = argc > 1 ? atol(argv[1]) : 1;
	if (chdir("/") == -1)
		return 2;
	while (calls--)
		shmget(0x5e000069, PAGE, 0600);
	return 0;
}
