/* Many processes, many cheap calls, some killed on the way. Usage: hammer PROCESSES CALLS KILLED
 *
 * Those that are to be killed go on until they are: on a busy machine the killer may be late.
 * Each process counts a call in a shared page after it has returned, so the count of a killed one is what the
 * journal has to have at least; one more may have been recorded but not yet counted. Prints: pid count ended|killed. */
#include "trace.h"

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	int processes = atoi(argv[1]), killed = atoi(argv[3]);
	long calls = atol(argv[2]);
	volatile long *count = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[64];
	int shmid = shmget(0x5e000040, PAGE, IPC_CREAT | 0600);
	for (int p = 0; p < processes; p++) {
		pids[p] = fork();
		if (pids[p] == 0) {
			for (long i = 0; p < killed || i < calls; i++) {
				if (shmget(0x5e000040, 0, 0) != shmid)
					_exit(1);
				count[p]++;
			}
			_exit(0);
		}
	}
	const struct timespec moment = {0, 100000};
	for (int p = 0; p < killed; p++) {
		while (count[p] < calls / 5 * (p + 1))
			nanosleep(&moment, NULL);
		kill(pids[p], SIGKILL);
	}
	for (int p = 0; p < processes; p++) {
		int how;
		waitpid(pids[p], &how, 0);
		printf("%d %ld %s\n", pids[p], count[p], WIFSIGNALED(how) ? "killed" : WEXITSTATUS(how) ? "wrong" : "ended");
	}
	return shmctl(shmid, IPC_RMID, NULL);
}
