/* Linked with the library; says whether the start was a privileged one. */
#include "../trace.h"
#include <sys/auxv.h>

const char *shmgate_version(void);

int main(void)
{
	printf("secure: %lu\n", getauxval(AT_SECURE));
	printf("library: %s\n", shmgate_version()[0] ? "ours" : "?");
	int shmid = (int)T(shmget(IPC_PRIVATE, PAGE, 0666));
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
