/* Leaks a segment, and has children with its attach that are killed in their first moments: in the middle of what a child does at its start. */
#include "trace.h"

int main(void)
{
	if (shmat(private_segment(PAGE, 0600), NULL, 0) == FAILED)
		return 1;
	for (int i = 0; i < 1000; i++) {
		pid_t pid = fork();
		if (pid == 0)
			for (;;)
				pause();
		usleep(i % 25 * 4);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return 0;
}
