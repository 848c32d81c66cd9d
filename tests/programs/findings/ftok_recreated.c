/* The file that a key comes from is replaced: argv[1] is a directory for it. */
#include <stdio.h>
#include <sys/ipc.h>

static int make(const char *directory, const char *name, char path[4096])
{
	snprintf(path, 4096, "%s/%s", directory, name);
	FILE *file = fopen(path, "w");
	return file ? fclose(file) : -1;
}

int main(int argc, char **argv)
{
	char old[4096], new[4096];
	if (argc < 2 || make(argv[1], "key", old) == -1)
		return 1;
	key_t before = ftok(old, 'S');
	if (make(argv[1], "key.new", new) == -1 || rename(new, old) == -1)
		return 1;
	return before == -1 || ftok(old, 'S') == before;
}
