/* Segments for `ipcs` and its kin to show, held while the shell runs a script: A attached twice and written to, B removed but attached, C that
 * nobody uses. Their ids are in its environment, and this process's pid is HOLDER. */
#include "trace.h"

static int held(key_t key, size_t size, int mode, const char *name, int attaches)
{
	char text[16];
	int shmid = shmget(key, size, IPC_CREAT | mode);
	snprintf(text, sizeof text, "%d", shmid);
	setenv(name, text, 1);
	while (attaches-- > 0)
		*(char *)shmat(shmid, NULL, 0) = 1;
	return shmid;
}

int main(int argc, char **argv)
{
	char text[16];
	snprintf(text, sizeof text, "%d", (int)getpid());
	setenv("HOLDER", text, 1);
	if (argc != 2)
		return 2;
	held(0x5e000051, 10000, 0640, "A", 2);
	shmctl(held(0x5e000052, 8192, 0604, "B", 1), IPC_RMID, NULL);
	held(0x5e000053, 4096, 0600, "C", 0);
	return WEXITSTATUS(system(argv[1]));
}
