/* Calls in a signal's handler, on the stack that was interrupted and on one of its own. */
#include <signal.h>
#include <stdlib.h>
#include <sys/shm.h>

static volatile int key = 1;

static void handler(int number)
{
	shmget(key++, 0, 0); /* handler */
	(void)number;
}

__attribute__((noinline)) static void interrupted(void)
{
	raise(SIGUSR1); /* interrupted */
	*(volatile int *)&key += 0;
}

int main(void)
{
	signal(SIGUSR1, handler);
	interrupted(); /* first */
	sigaltstack(&(stack_t){ .ss_sp = malloc(1 << 16), .ss_size = 1 << 16 }, NULL);
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = handler, .sa_flags = SA_ONSTACK }, NULL);
	interrupted(); /* second */
	return 0;
}
