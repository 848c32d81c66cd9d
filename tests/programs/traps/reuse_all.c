/* A host that puts a file of its own under every number that is open, standard error aside. Usage: reuse_all FILE CALLS
 *
 * Its file must stay empty, whatever was kept under such a number before. */
#include "../trace.h"
#include <dirent.h>

int main(int argc, char **argv)
{
	int open_ones[4096], count = 0, bad = 0;
	struct stat stat;
	if (argc < 3)
		return 2;
	shmget(0x5e000078, 1, 0600);
	seteuid(geteuid()); /* the journal is kept open from here on */
	shmget(0x5e000078, 1, 0600);
	DIR *dir = opendir("/proc/self/fd");
	for (struct dirent *entry; (entry = readdir(dir)) && count < 4096;)
		if (atoi(entry->d_name) > 2 && atoi(entry->d_name) != dirfd(dir))
			open_ones[count++] = atoi(entry->d_name);
	closedir(dir);
	int own = open(argv[1], O_CREAT | O_RDWR | O_APPEND, 0600);
	for (int i = 0; i < count; i++)
		bad += dup2(own, open_ones[i]) == -1;
	for (long i = atol(argv[2]); i > 2; i--)
		bad += shmget(0x5e000078, 1, 0600) != -1 || errno != ENOENT;
	fstat(own, &stat);
	printf("bad: %d, in the host's file: %ld\n", bad, (long)stat.st_size);
	return 0;
}
