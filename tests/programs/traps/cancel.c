/* A thread with a pending pthread_cancel makes a call: shmget is no cancellation point, and must not become one. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/ipc.h>
#include <sys/shm.h>

static int returned;

static void *caller(void *unused)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cancel(pthread_self());
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	/* Far more than the journal holds without growing. */
	for (int i = 0; i < 30000; i++)
		shmget(0x7fffeeee, 1, 0);
	shmget(0x7fffeeee, 1, 0);
	returned = 1;
	pthread_testcancel();
	return unused;
}

int main(void)
{
	pthread_t thread;
	void *result;

	pthread_create(&thread, NULL, caller, NULL);
	pthread_join(thread, &result);
	printf("%s, then %s\n", returned ? "returned" : "did not return", result == PTHREAD_CANCELED ? "cancelled" : "not cancelled");
	return 0;
}
