/* What mremap, mmap and munmap do to an attach: nattch follows each piece, and shmdt finds it where it is now. */
#include "trace.h"

static int shmid;

static void attaches(const char *when)
{
	printf("%s, attaches: %ld\n", when, nattch(shmid));
}

static char *room(int pages)
{
	return mmap(NULL, pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

int main(void)
{
	shmid = private_segment(4 * PAGE, 0600);
	char *at = TP(shmat(shmid, NULL, 0));
	for (int page = 0; page < 4; page++)
		sprintf(at + page * PAGE, "page %d", page);

	/* moved: shmdt goes by the new address */
	char *place = room(8);
	char *moved = TP(mremap(at, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	printf("moved: %d, %s\n", moved == place, moved + 3 * PAGE);
	attaches("moved");
	T(shmdt(at));
	T(shmdt(moved));
	attaches("detached");

	/* its middle moved away: three pieces, of two attaches */
	at = TP(shmat(shmid, NULL, 0));
	place = room(8);
	moved = mremap(at + PAGE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place + PAGE);
	printf("moved: %d, %s\n", moved == place + PAGE, moved);
	attaches("in three pieces");
	T(shmdt(moved));
	T(shmdt(moved - PAGE));
	attaches("without the middle");
	T(shmdt(at));
	attaches("detached");

	/* a page moved over another of its own attach */
	at = TP(shmat(shmid, NULL, 0));
	moved = mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at + 2 * PAGE);
	printf("moved: %d, %s\n", moved == at + 2 * PAGE, moved);
	attaches("in three pieces");
	T(shmdt(moved));
	attaches("the hole is wider");
	T(shmdt(at));
	attaches("detached");

	/* mapped once more, by an old size of 0; and shrunk */
	at = TP(shmat(shmid, NULL, 0));
	moved = TP(mremap(at, 0, 4 * PAGE, MREMAP_MAYMOVE));
	attaches("twice");
	printf("%s\n", moved + 2 * PAGE);
	printf("shrunk: %d\n", mremap(at, 4 * PAGE, 2 * PAGE, 0) == at);
	attaches("shrunk");
	T(shmdt(at));
	attaches("one of two detached");
	T(shmdt(moved));
	attaches("both detached");

	/* calls that fail change nothing */
	at = TP(shmat(shmid, NULL, 0));
	T(mmap(at, 4 * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, -1, 0));
	T(munmap(at + 1, PAGE));
	T(munmap(at, 0));
	T(mremap(at + 1, PAGE, PAGE, MREMAP_MAYMOVE));
	attaches("as it was");
	printf("%s\n", at + PAGE);
	T(shmdt(at));
	attaches("detached");

	/* over the ends of two attaches that lie side by side */
	place = room(8);
	munmap(place, 8 * PAGE);
	char *left = TP(shmat(shmid, place, 0));
	char *right = TP(shmat(shmid, place + 4 * PAGE, 0));
	printf("side by side: %d\n", right - left == 4 * PAGE);
	char *over = mmap(place + 3 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	strcpy(over, "the program's");
	attaches("both cut");
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	waitpid(child, NULL, 0);
	attaches("after a child");
	T(shmdt(right));
	T(shmdt(left));
	printf("%s\n", over);
	attaches("detached");

	/* a short segment in place of a long one's start: its end is an attach still */
	int small = private_segment(PAGE, 0600);
	at = TP(shmat(shmid, NULL, 0));
	T(shmat(small, at, SHM_REMAP));
	printf("attaches: %ld and %ld\n", nattch(shmid), nattch(small));
	T(shmdt(at));
	printf("attaches: %ld and %ld\n", nattch(shmid), nattch(small));
	T(shmdt(at));
	printf("attaches: %ld and %ld\n", nattch(shmid), nattch(small));
	T(shmctl(small, IPC_RMID, NULL));

	/* removed, it goes with the last piece */
	at = TP(shmat(shmid, NULL, 0));
	T(shmctl(shmid, IPC_RMID, NULL));
	T(munmap(at, 3 * PAGE));
	attaches("a page left");
	T(munmap(at + 3 * PAGE, PAGE));
	struct shmid_ds ds;
	T(shmctl(shmid, IPC_STAT, &ds));
	T(shmdt(at));
	return 0;
}
