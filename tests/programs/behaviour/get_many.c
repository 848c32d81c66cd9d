/* Hundreds of segments at once: ids differ, keys find theirs, ids are not given out again soon. */
#include "trace.h"

#define COUNT 300

int main(void)
{
	int ids[COUNT], same = 0, found = 0, reused = 0;
	for (int i = 0; i < COUNT; i++)
		ids[i] = shmget(0x5e001000 + i, 100 + i, IPC_CREAT | IPC_EXCL | 0600);
	for (int i = 0; i < COUNT; i++) {
		found += shmget(0x5e001000 + i, 100 + i, 0) == ids[i];
		for (int j = 0; j < i; j++)
			same += ids[i] == ids[j];
	}
	printf("found %d, ids in common %d\n", found, same);
	for (int i = 0; i < COUNT; i++)
		if (shmctl(ids[i], IPC_RMID, NULL) == -1)
			puts(errname(errno));
	for (int i = 0; i < COUNT; i++) {
		int shmid = shmget(IPC_PRIVATE, 1, 0600);
		for (int j = 0; j < COUNT; j++)
			reused += shmid == ids[j];
		shmctl(shmid, IPC_RMID, NULL);
	}
	printf("reused %d\n", reused);
	return 0;
}
