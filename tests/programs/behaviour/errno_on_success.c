/* A call that succeeds leaves errno as it was, whatever it was: zero too. */
#include "trace.h"

static int bad;

#define KEEP(call)                                                                                                     \
	do {                                                                                                           \
		for (int number = 0; number < 200; number += 33) {                                                     \
			errno = number;                                                                                \
			if ((long)(call) == -1 || errno != number)                                                     \
				bad++, printf("%s with %d: %d\n", #call, number, errno);                               \
		}                                                                                                      \
	} while (0)

int main(void)
{
	struct shmid_ds ds;
	static char pages[2 * PAGE] __attribute__((aligned(PAGE)));
	int shmid = private_segment(PAGE, 0600);
	char *at;
	KEEP(shmget(0x5e000030, PAGE, IPC_CREAT | 0600));
	KEEP(shmget(0x5e000030, 0, 0));
	KEEP(shmget(0x5e000030, 0, 0600));
	KEEP(at = shmat(shmid, NULL, 0));
	KEEP((at = shmat(shmid, NULL, 0), shmdt(at)));
	KEEP(shmctl(shmid, IPC_STAT, &ds));
	KEEP(shmctl(shmid, IPC_STAT, (struct shmid_ds *)pages));
	KEEP(shmctl(shmid, IPC_STAT, (struct shmid_ds *)(pages + PAGE - 40)));
	KEEP(shmctl(shmid, IPC_SET, &ds));
	KEEP(shmctl(0, SHM_INFO, (struct shmid_ds *)&(struct shm_info){0}));
	KEEP(ftok("/", 'x'));
	KEEP(shmctl(shmid, IPC_RMID, NULL));
	shmctl(shmget(0x5e000030, 0, 0), IPC_RMID, NULL);
	printf("bad: %d\n", bad);
	return bad != 0;
}
