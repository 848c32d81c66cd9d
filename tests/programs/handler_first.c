/* A fork handler from before ours, which makes calls in the child. Prints how many more attaches its parent may have then. */
#include "trace.h"

static int shmid = -1;

static void in_child(void)
{
	if (shmid != -1)
		shmdt(shmat(shmid, NULL, 0));
}

static void before_all(void)
{
	pthread_atfork(NULL, NULL, in_child);
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(void) = before_all;

int main(void)
{
	int ends[2], count = 0;
	char byte;
	shmid = private_segment(PAGE, 0600);
	for (int i = 0; i < 3; i++)
		shmat(shmid, NULL, 0);
	if (pipe(ends) == -1)
		return 2;
	pid_t pid = fork();
	if (pid == 0) {
		if (write(ends[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	if (read(ends[0], &byte, 1) == 1)
		while (count < 100 && shmat(shmid, NULL, 0) != FAILED)
			count++;
	printf("%d\n", count);
	kill(pid, SIGKILL);
	wait(NULL);
	shmctl(shmid, IPC_RMID, NULL);
	return 0;
}
