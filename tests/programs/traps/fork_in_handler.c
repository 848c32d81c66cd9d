/* A signal handler that comes into _Fork, and forks: its child opens files and goes on with what was interrupted. */
#include "../trace.h"
#include <sys/time.h>

#define FORKS 1500
#define FILES 6

static volatile int is_handlers;
static int files[FILES];
static pid_t parent;

static void handle(int signal)
{
	(void)signal;
	int before = errno;
	if (getpid() == parent && _Fork() == 0) {
		is_handlers = 1;
		for (int i = 0; i < FILES; i++)
			files[i] = open("/dev/null", O_RDONLY);
	}
	errno = before;
}

static int lost(void)
{
	int count = 0;
	for (int i = 0; i < FILES; i++)
		count += fcntl(files[i], F_GETFD) == -1;
	return count;
}

int main(void)
{
	int all = 0, how;
	pid_t pid;
	struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
	sigaction(SIGALRM, &action, NULL);
	parent = getpid();
	int shmid = private_segment(PAGE, 0600);
	char *at = shmat(shmid, NULL, 0);
	for (int i = 0; i < FORKS; i++) {
		struct itimerval soon = {.it_value.tv_usec = 1 + i % 150};
		setitimer(ITIMER_REAL, &soon, NULL);
		pid = _Fork();
		if (pid == 0 && !is_handlers)
			_exit(0);
		while (!is_handlers && ((pid = wait(&how)) != -1 || errno == EINTR))
			all += pid != -1 && how != 0;
		if (is_handlers)
			_exit(lost());
	}
	/* The last timer's signal may come as late as this: what its handler makes ends here. */
	setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
	if (is_handlers)
		_exit(lost());
	while (wait(&how) != -1)
		all += how != 0;
	printf("lost: %d\nnattch %ld\n", all, nattch(shmid));
	shmdt(at);
	shmctl(shmid, IPC_RMID, NULL);
	return 0;
}
