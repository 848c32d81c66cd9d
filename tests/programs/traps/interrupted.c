/* Standard error is a full pipe, and a timer's signals come in while a call's line waits for room; the third one's handler makes some.
 * Prints whether the line came through. */
#include "../trace.h"
#include <sys/time.h>

static char text[1 << 14];

static void handle(int signal)
{
	static int count;
	(void)signal;
	if (++count == 3 && read(0, text, PAGE) != PAGE)
		_exit(2);
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = handle};
	struct itimerval often = {{0, 2000}, {0, 2000}};
	int ends[2];
	if (argc == 1) {
		if (pipe(ends) == -1 || fcntl(ends[1], F_SETPIPE_SZ, PAGE) == -1 || write(ends[1], text, PAGE) != PAGE)
			return 2;
		dup2(ends[0], 0);
		dup2(ends[1], 2);
		execl(argv[0], argv[0], "again", (char *)NULL);
		return 2;
	}
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	shmget(0x5e000069, PAGE, 0600);
	setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
	fcntl(0, F_SETFL, O_NONBLOCK);
	long length = read(0, text, sizeof text - 1);
	puts(length > 0 && strstr(text, "shmget(") ? "logged" : "lost");
	return 0;
}
