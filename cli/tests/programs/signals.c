/* Prints the number of each signal that comes, and its value if it was queued; ends at the signal SIGUSR2. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	sigset_t all;
	siginfo_t info;
	int signal;
	sigfillset(&all);
	sigdelset(&all, SIGTSTP);
	sigprocmask(SIG_SETMASK, &all, NULL);
	printf("ready %d\n", getpid());
	fflush(stdout);
	do {
		signal = sigwaitinfo(&all, &info);
		if (signal == -1)
			continue;
		if (info.si_code == SI_QUEUE)
			printf("signal %d value %d\n", signal, info.si_value.sival_int);
		else
			printf("signal %d\n", signal);
		fflush(stdout);
	} while (signal != SIGUSR2);
	return 3;
}
