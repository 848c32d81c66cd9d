/* shmat of ids that are not good, and without room. */
#include "trace.h"
#include <sys/resource.h>

int main(void)
{
	int shmid = private_segment(PAGE, 0600);
	T(shmat(-1, NULL, 0));
	T(shmat(0x7fffffff, NULL, 0));
	T(shmat(shmid ^ 0x8000, NULL, 0)); /* the index with another sequence number */
	int stale = private_segment(PAGE, 0600);
	T(shmctl(stale, IPC_RMID, NULL));
	T(shmat(stale, NULL, 0));
	int big = private_segment(1UL << 30, 0600 | SHM_NORESERVE);
	struct rlimit before, small = {256UL << 20, RLIM_INFINITY};
	getrlimit(RLIMIT_AS, &before);
	small.rlim_max = before.rlim_max;
	setrlimit(RLIMIT_AS, &small);
	T(shmat(big, NULL, 0));
	T(shmat(shmid, NULL, 0));
	setrlimit(RLIMIT_AS, &before);
	T(shmdt(TP(shmat(big, NULL, 0))));
	T(shmctl(big, IPC_RMID, NULL));
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
