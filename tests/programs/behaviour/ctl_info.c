/* IPC_INFO, SHM_INFO, SHM_STAT, SHM_STAT_ANY: by index, with what the namespace holds. */
#include "trace.h"
#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif

/* Other users' segments may be here when there is no namespace of our own: only relations then. */
int main(void)
{
	struct shminfo limits;
	struct shm_info use;
	struct shmid_ds ds;
	errno = UNTOUCHED;
	int highest = shmctl(0, IPC_INFO, (struct shmid_ds *)&limits);
	printf("IPC_INFO of nothing: %d\n", highest);
	printf("shmmni %lu shmmin %lu shmseg %d\n", limits.shmmni, limits.shmmin, limits.shmseg == limits.shmmni);
	int one = private_segment(3 * PAGE, 0600), two = private_segment(1, 0), three = private_segment(1, 0600);
	char *at = shmat(one, NULL, 0);
	at[0] = 1;
	errno = UNTOUCHED;
	highest = shmctl(123, SHM_INFO, (struct shmid_ds *)&use);
	printf("SHM_INFO: highest %d used %d total %lu resident %lu, errno %s\n", highest, use.used_ids, use.shm_tot,
	       use.shm_rss, errname(errno));
	for (int index = 0; index <= highest + 1; index++) {
		errno = UNTOUCHED;
		int shmid = shmctl(index, SHM_STAT, &ds);
		printf("SHM_STAT %d: %s, errno %s\n", index,
		       shmid == -1 ? "-1" : shmid == one ? "one" : shmid == two ? "two" : shmid == three ? "three" : "?",
		       errname(errno));
		errno = UNTOUCHED;
		shmid = shmctl(index, SHM_STAT_ANY, &ds);
		printf("SHM_STAT_ANY %d: %s, errno %s, segsz %zu\n", index,
		       shmid == -1 ? "-1" : shmid == one ? "one" : shmid == two ? "two" : shmid == three ? "three" : "?",
		       errname(errno), shmid == -1 ? 0 : ds.shm_segsz);
	}
	T(shmctl(0, IPC_INFO, NULL));
	T(shmctl(0, SHM_INFO, (struct shmid_ds *)8));
	T(shmctl(-1, IPC_INFO, (struct shmid_ds *)&limits));
	T(shmctl(-1, SHM_INFO, (struct shmid_ds *)&use));
	T(shmctl(-1, SHM_STAT, &ds));
	T(shmctl(30000, SHM_STAT, &ds));
	T(shmctl(0, SHM_STAT, NULL));
	T(shmdt(at));
	T(shmctl(two, IPC_RMID, NULL));
	errno = UNTOUCHED;
	printf("highest with a gap: %d\n", shmctl(0, SHM_INFO, (struct shmid_ds *)&use));
	T(shmctl(three, IPC_RMID, NULL));
	printf("highest: %d\n", shmctl(0, SHM_INFO, (struct shmid_ds *)&use));
	T(shmctl(one, IPC_RMID, NULL));
	return 0;
}
