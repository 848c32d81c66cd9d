/* A signal that waits for the host still waits after calls, none is added, and the mask is the host's: nothing of it is
 * lost to whoever writes lines meanwhile. */
#include "trace.h"

static void calls(int shmid)
{
	struct shmid_ds ds;
	void *at = TP(shmat(shmid, NULL, 0));
	T(shmctl(shmid, IPC_STAT, &ds));
	T(shmdt(at));
}

static void signals(const char *text)
{
	sigset_t mask, pending;
	sigprocmask(SIG_SETMASK, NULL, &mask);
	sigpending(&pending);
	printf("%s: blocked", text);
	for (int number = 1; number < 32; number++)
		if (sigismember(&mask, number))
			printf(" %s", sigabbrev_np(number));
	printf(", pending");
	for (int number = 1; number < 32; number++)
		if (sigismember(&pending, number))
			printf(" %s", sigabbrev_np(number));
	puts("");
}

int main(void)
{
	int shmid = private_segment(PAGE, 0600);
	const int kinds[] = {SIGPIPE, SIGXFSZ};
	signals("at the start");
	for (int i = 0; i < 2; i++) {
		sigset_t one;
		sigemptyset(&one);
		sigaddset(&one, kinds[i]);
		sigprocmask(SIG_BLOCK, &one, NULL);
		signals("blocked");
		calls(shmid);
		signals("after calls");
		raise(kinds[i]);
		calls(shmid);
		signals("after a signal and calls");
		sigtimedwait(&one, NULL, &(struct timespec){0});
		sigprocmask(SIG_UNBLOCK, &one, NULL);
		calls(shmid);
		signals("taken, unblocked, and calls");
	}
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
