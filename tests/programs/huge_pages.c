/*
 * Segments of huge pages (SHM_HUGETLB), as a machine with a pool of them gives them: sizes, places, children, the pool's end. Takes how many
 * pages of 2 MiB the pool has.
 */
#include "trace.h"
#include <sys/wait.h>

#define HUGE_PAGE (2u << 20)
#define HUGE_2MB (SHM_HUGETLB | 21 << 26)
#define NO_PAGES_OF (SHM_HUGETLB | 20 << 26)

static int segment(size_t size, int flags)
{
	int shmid = shmget(IPC_PRIVATE, size, IPC_CREAT | 0640 | flags);
	if (shmid == -1)
		printf("size %zu flags %#x: %s\n", size, flags, errname(errno));
	return shmid;
}

static void told(int shmid)
{
	struct shmid_ds ds = status(shmid);
	printf("mode %#o segsz %zu nattch %lu\n", ds.shm_perm.mode, ds.shm_segsz, (unsigned long)ds.shm_nattch);
}

static void used(size_t size, int flags)
{
	int shmid = segment(size, flags);
	if (shmid == -1)
		return;
	char *at = TP(shmat(shmid, NULL, 0));
	char *again = TP(shmat(shmid, NULL, SHM_RDONLY));
	if (at == FAILED || again == FAILED)
		return;
	printf("aligned: %d\n", (uintptr_t)at % HUGE_PAGE == 0);
	at[0] = 1;
	at[(size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE - 1] = 2; /* whole pages are mapped */
	printf("read: %d\n", again[0]);
	T(shmctl(shmid, SHM_LOCK, NULL));
	T(shmctl(shmid, SHM_UNLOCK, NULL));
	told(shmid);
	pid_t child = fork();
	if (child == 0) {
		char *mine = shmat(shmid, NULL, 0);
		mine[1] = 7;
		fflush(stdout);
		_exit(mine == FAILED);
	}
	waitpid(child, NULL, 0);
	printf("the child's: %d\n", again[1]);
	T(shmctl(shmid, IPC_RMID, NULL));
	told(shmid);
	T(shmdt(again));
	char *third = TP(shmat(shmid, NULL, 0));
	printf("still: %d\n", third[1]);
	T(shmdt(third));
	T(shmdt(at));
	printf("gone: %d\n", shmctl(shmid, IPC_STAT, &(struct shmid_ds){0}) == -1);
}

static void placed(void)
{
	int shmid = segment(HUGE_PAGE, HUGE_2MB);
	char *at = shmat(shmid, NULL, 0);
	T(shmdt(at));
	char *chosen = shmat(shmid, at, 0);
	printf("at its address: %d\n", chosen == at);
	T(shmat(shmid, at, 0) == FAILED ? -1 : 0); /* taken */
	T(shmdt(at));
	T(shmat(shmid, at + 4096, 0) == FAILED ? -1 : 0);
	T(shmctl(shmid, IPC_RMID, NULL));
}

/* A segment takes its pages when it is made, and gives them back when it goes. */
static void pool(size_t pages)
{
	int all = segment(pages * HUGE_PAGE, HUGE_2MB);
	printf("all: %d\n", all != -1);
	segment(1, HUGE_2MB);
	int later = segment(HUGE_PAGE, HUGE_2MB | SHM_NORESERVE);
	printf("without a reserve: %d\n", later != -1);
	T(shmctl(later, IPC_RMID, NULL));
	T(shmctl(all, IPC_RMID, NULL));
	int again = segment(pages * HUGE_PAGE, SHM_HUGETLB);
	printf("again: %d\n", again != -1);
	T(shmctl(again, IPC_RMID, NULL));
	segment((pages + 1) * HUGE_PAGE, SHM_HUGETLB);
}

int main(int argc, char **argv)
{
	size_t pages = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
	used(HUGE_PAGE, SHM_HUGETLB);
	used(2 * HUGE_PAGE - 5, HUGE_2MB);
	used(1, HUGE_2MB | SHM_NORESERVE);
	placed();
	pool(pages);
	segment(HUGE_PAGE, NO_PAGES_OF);
	segment(0, HUGE_2MB);
	segment(1, SHM_HUGETLB | 30 << 26); /* a pool of that size is empty */
	return 0;
}
