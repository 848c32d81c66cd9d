/* fork copies the attaches; exit and SIGKILL give them back before the zombie is reaped. */
#include "trace.h"

/* The child is dead and not reaped. */
static void dead(pid_t pid)
{
	siginfo_t info;
	waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
}

int main(void)
{
	int shmid = private_segment(PAGE, 0600), gate[2];
	char *one = TP(shmat(shmid, NULL, 0)), *two = TP(shmat(shmid, NULL, SHM_RDONLY));
	if (pipe(gate) == -1)
		return 1;
	pid_t child = fork();
	if (child == 0) {
		char byte;
		close(gate[1]);
		if (read(gate[0], &byte, 1) != 0)
			_exit(1);
		_exit(7);
	}
	close(gate[0]);
	show("after fork", shmid);
	pid_t sleeper = fork();
	if (sleeper == 0)
		for (;;)
			pause();
	show("after two", shmid);
	close(gate[1]);
	kill(sleeper, SIGKILL);
	dead(sleeper);
	dead(child);
	printf("zombies: nattch %ld\n", nattch(shmid));
	struct shmid_ds ds = status(shmid);
	printf("last was a child: %d\n", ds.shm_lpid == child || ds.shm_lpid == sleeper);
	ended("sleeper", sleeper);
	ended("child", child);
	/* grandchildren, and a detach in the middle */
	pid_t pid = fork();
	if (pid == 0) {
		T(shmdt(two));
		pid_t grandchild = fork();
		if (grandchild == 0) {
			printf("in the grandchild: nattch %ld\n", nattch(shmid));
			T(shmdt(one));
			T(shmdt(two));
			printf("detached there: nattch %ld\n", nattch(shmid));
			exit(0);
		}
		ended("grandchild", grandchild);
		printf("in the child: nattch %ld\n", nattch(shmid));
		exit(0);
	}
	ended("child", pid);
	show("at the end", shmid);
	T(shmctl(shmid, IPC_RMID, NULL));
	T(shmdt(one));
	T(shmdt(two));
	return 0;
}
