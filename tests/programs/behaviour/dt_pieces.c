/* What the program unmapped or mapped over inside an attach stays the program's. */
#include "trace.h"

static int mapped(void *page)
{
	unsigned char vector;
	return mincore(page, PAGE, &vector) == 0;
}

int main(void)
{
	int shmid = private_segment(4 * PAGE, 0600);
	char *at = TP(shmat(shmid, NULL, 0));
	char *own = mmap(at + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	strcpy(own, "the program's");
	T(munmap(at + 2 * PAGE, PAGE));
	T(shmdt(at));
	printf("%s, mapped: %d %d %d %d\n", own, mapped(at), mapped(at + PAGE), mapped(at + 2 * PAGE),
	       mapped(at + 3 * PAGE));
	T(shmdt(at));
	printf("attaches: %ld\n", nattch(shmid));
	/* without its first page an attach can still be found by its start */
	munmap(own, PAGE);
	at = TP(shmat(shmid, NULL, 0));
	T(munmap(at, PAGE));
	T(shmdt(at));
	printf("mapped: %d, attaches: %ld\n", mapped(at + PAGE), nattch(shmid));
	/* all of it unmapped by hand */
	at = TP(shmat(shmid, NULL, 0));
	T(munmap(at, 4 * PAGE));
	printf("attaches: %ld\n", nattch(shmid));
	T(shmdt(at));
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
