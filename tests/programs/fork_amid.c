/* A signal handler that comes into shmat and shmdt, and forks: the child goes on with what was interrupted. Usage: fork_amid LIMIT
 *
 * Prints how many attaches the process may have afterwards. */
#include "trace.h"
#include <sys/time.h>

#define HELD 20
#define FORKS 1000

static volatile int is_child;

static void handle(int signal)
{
	int before = errno;
	(void)signal;
	if (!is_child)
		is_child = fork() == 0;
	errno = before;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
	int count, limit = argc > 1 ? atoi(argv[1]) : 0, shmid = private_segment(PAGE, 0600);
	sigaction(SIGALRM, &action, NULL);
	for (count = 0; count < HELD; count++)
		shmat(shmid, NULL, 0);
	for (int i = 0; i < FORKS; i++) {
		struct itimerval soon = {.it_value.tv_usec = 1 + i % 60};
		setitimer(ITIMER_REAL, &soon, NULL);
		for (int k = 0; k < 8; k++) {
			void *at = shmat(shmid, NULL, 0);
			if (at != FAILED && !is_child)
				shmdt(at);
			if (is_child)
				_exit(0);
		}
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
	if (is_child)
		_exit(0);
	while (wait(NULL) != -1 || errno == EINTR)
		;
	while (count < 2 * limit && shmat(shmid, NULL, 0) != FAILED)
		count++;
	printf("%d\n", count);
	shmctl(shmid, IPC_RMID, NULL);
	return 0;
}
