/* What a child inherits and gives up by exec is there for its parent. Usage: exec_with_attaches COUNT */
#include "trace.h"

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1, shmid = private_segment(PAGE, 0600), ends[2];
	char byte;
	for (int i = 0; i < count; i++)
		shmat(shmid, NULL, 0);
	if (pipe2(ends, O_CLOEXEC) == -1)
		return 2;
	pid_t pid = fork();
	if (pid == 0) {
		execlp("sleep", "sleep", "1000", (char *)NULL);
		_exit(1);
	}
	close(ends[1]);
	/* The end comes by exec. */
	if (read(ends[0], &byte, 1) == 0)
		T(shmat(shmid, NULL, 0));
	T(shmat(shmid, NULL, 0));
	kill(pid, SIGKILL);
	wait(NULL);
	shmctl(shmid, IPC_RMID, NULL);
	return 0;
}
