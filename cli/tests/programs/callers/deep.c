/* A call in more frames than are kept. */
#include <sys/shm.h>

__attribute__((noinline)) int descend(volatile int *left)
{
	int result;

	if (*left == 0)
		return shmget(1, 0, 0) + 0 * *left; /* bottom */
	--*left;
	result = descend(left); /* descend */
	return result + *left;
}

int main(void)
{
	volatile int left = 100;

	descend(&left);
	return 0;
}
