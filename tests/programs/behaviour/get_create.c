/* What a new segment is like, and what is refused. */
#include "trace.h"

int main(void)
{
	T(shmget(IPC_PRIVATE, 0, IPC_CREAT | 0600));
	T(shmget(0x5e000002, 0, IPC_CREAT | 0600));
	T(shmget(0x5e000002, 0, 0600));
	int shmid = (int)T(shmget(0x5e000002, 10000, IPC_CREAT | 07600));
	show("new", shmid);
	struct shmid_ds ds = status(shmid);
	printf("owner %d creator %d group %d %d\n", ds.shm_perm.uid == geteuid(), ds.shm_perm.cuid == geteuid(),
	       ds.shm_perm.gid == getegid(), ds.shm_perm.cgid == getegid());
	time_t now = time(NULL);
	printf("created now: %d\n", ds.shm_ctime <= now && ds.shm_ctime >= now - 60);
	/* IPC_PRIVATE always creates, whatever the flags */
	int one = (int)T(shmget(IPC_PRIVATE, 1, 0600));
	int two = (int)T(shmget(IPC_PRIVATE, 1, IPC_EXCL | 0666));
	int three = (int)T(shmget(IPC_PRIVATE, 4097, 0));
	printf("all different: %d\n", shmid != one && one != two && two != three);
	show("one", one);
	show("two", two);
	show("three", three);
	T(shmget(IPC_PRIVATE, 4096, SHM_HUGETLB | (20 << 26) | 0600)); /* huge pages of 1 MiB: there are none */
	int lazy = (int)T(shmget(IPC_PRIVATE, 5UL << 30, IPC_CREAT | SHM_NORESERVE | 0600));
	printf("more than 4 GiB: %zu\n", status(lazy).shm_segsz);
	T(shmctl(lazy, IPC_RMID, NULL));
	T(shmget(IPC_PRIVATE, 1UL << 63, IPC_CREAT | SHM_NORESERVE | 0600));
	lazy = (int)T(shmget(IPC_PRIVATE, 1UL << 47, IPC_CREAT | SHM_NORESERVE | 0600));
	T(shmat(lazy, NULL, 0));
	T(shmat(lazy, (void *)0x300000000000, 0));
	T(shmctl(lazy, IPC_RMID, NULL));
	T(shmctl(one, IPC_RMID, NULL));
	T(shmctl(two, IPC_RMID, NULL));
	T(shmctl(three, IPC_RMID, NULL));
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
