/* segments SEGMENTS PROCESSES HOLDERS RUNS COMMAND...
 * Times COMMAND among many segments and processes, of which HOLDERS have the last segment attached; LAST in COMMAND stands for that one's id.
 * Prints the least, the median and the longest time of RUNS, in milliseconds. Run it under `unshare -i`: the segments go with the namespace. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int make_segments(int count)
{
	int shmid = -1;
	for (int i = 0; i < count; i++) {
		shmid = shmget(0x5e000000 + i, 4096 * (1 + i % 5), IPC_CREAT | 0600);
		if (shmid == -1)
			fail("shmget");
	}
	return shmid;
}

/* A process that waits, with the segment attached or not; it is there when this returns. */
static pid_t hold(int shmid)
{
	char byte;
	int ends[2];
	if (pipe(ends) == -1)
		fail("pipe");
	pid_t pid = fork();
	if (pid == -1)
		fail("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (shmid != -1 && shmat(shmid, NULL, 0) == (void *)-1)
			fail("shmat");
		if (write(ends[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ends[1]);
	if (read(ends[0], &byte, 1) != 1)
		fail("holder");
	close(ends[0]);
	return pid;
}

static double run(char **command)
{
	struct timespec from, to;
	int status;
	clock_gettime(CLOCK_MONOTONIC, &from);
	pid_t pid = fork();
	if (pid == -1)
		fail("fork");
	if (pid == 0) {
		dup2(open("/dev/null", O_WRONLY), 1);
		execvp(command[0], command);
		fail(command[0]);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		fail("the command");
	clock_gettime(CLOCK_MONOTONIC, &to);
	return (to.tv_sec - from.tv_sec) * 1e3 + (to.tv_nsec - from.tv_nsec) / 1e6;
}

static int ascending(const void *one, const void *other)
{
	double a = *(const double *)one, b = *(const double *)other;
	return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
	if (argc < 6) {
		fprintf(stderr, "usage: %s SEGMENTS PROCESSES HOLDERS RUNS COMMAND...\n", argv[0]);
		return 2;
	}
	int processes = atoi(argv[2]), holders = atoi(argv[3]), runs = atoi(argv[4]);
	int shmid = make_segments(atoi(argv[1]));
	pid_t *pids = calloc(processes + 1, sizeof *pids);
	double *times = calloc(runs + 1, sizeof *times);
	char last[16];
	if (!pids || !times || runs < 1)
		fail("runs");
	for (int i = 0; i < processes; i++)
		pids[i] = hold(i < holders ? shmid : -1);
	snprintf(last, sizeof last, "%d", shmid);
	for (char **word = argv + 5; *word; word++)
		if (!strcmp(*word, "LAST"))
			*word = last;
	for (int i = 0; i < runs; i++)
		times[i] = run(argv + 5);
	qsort(times, runs, sizeof *times, ascending);
	printf("%.0f %.0f %.0f ms\n", times[0], times[runs / 2], times[runs - 1]);
	for (int i = 0; i < processes; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	return 0;
}
