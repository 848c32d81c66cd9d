/* A daemon's start: close all descriptors, open files of one's own, go on. Usage: close_all FOLDER [redirect]
 *
 * The files get the lowest numbers, the standard ones too. With "redirect" only stderr is the program's own. */
#include "../trace.h"
#include <dirent.h>

#define FILES 8

static void calls(int shmid)
{
	for (int i = 0; i < 50; i++) {
		void *at = shmat(shmid, NULL, 0);
		if (at == FAILED || shmdt(at) == -1 || shmget(0x5e000060, 1, 0600) != -1 || errno != ENOENT)
			_exit(1);
	}
}

static void close_all(void)
{
	int open[4096], count = 0;
	DIR *dir = opendir("/proc/self/fd");
	for (struct dirent *entry; (entry = readdir(dir)) && count < 4096;)
		if (entry->d_name[0] != '.')
			open[count++] = atoi(entry->d_name);
	closedir(dir);
	while (count)
		close(open[--count]);
}

int main(int argc, char **argv)
{
	char path[4096];
	int files[FILES], shmid = shmget(0x5e000061, PAGE, IPC_CREAT | 0600), count = argc > 2 ? 1 : FILES;
	calls(shmid);
	if (argc < 2)
		return 2;
	if (argc == 2)
		close_all();
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof path, "%s/own%d", argv[1], i);
		files[i] = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
		if (files[i] == -1 || (argc == 2 && files[i] != i))
			return 3;
	}
	if (argc > 2 && dup2(files[0], 2) == -1)
		return 4;
	calls(shmid);
	for (int i = 0; i < count; i++) {
		if (lseek(files[i], 0, SEEK_CUR) != 0 || write(files[i], "mine", 4) != 4)
			return 5;
		calls(shmid);
	}
	shmctl(shmid, IPC_RMID, NULL);
	return 0;
}
