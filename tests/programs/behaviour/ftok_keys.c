/* ftok: the formula, and its errors. */
#include "trace.h"

static key_t formula(const char *path, int proj)
{
	struct stat st;
	if (stat(path, &st) == -1)
		return -1;
	return (key_t)((st.st_ino & 0xffff) | ((st.st_dev & 0xff) << 16) | ((proj & 0xffu) << 24));
}

int main(void)
{
	const int projs[] = {'S', 1, 255, 256, 0x1234, 0, -1};
	for (unsigned i = 0; i < sizeof projs / sizeof *projs; i++)
		printf("proj %d: %d\n", projs[i], ftok("/", projs[i]) == formula("/", projs[i]));
	printf("a file: %d\n", ftok("/proc/self/exe", 'x') == formula("/proc/self/exe", 'x'));
	printf("relative: %d\n", ftok(".", 'x') == formula(".", 'x'));
	T(ftok("/nonexistent/path", 1));
	T(ftok("", 1));
	T(ftok("/dev/null/x", 1));
	T(ftok((char *)8, 1));
	char long_path[5000];
	memset(long_path, 'a', sizeof long_path);
	long_path[sizeof long_path - 1] = 0;
	T(ftok(long_path, 1));
	char not_text[] = "/\xff\xfe\x01\"\\\n";
	T(ftok(not_text, 1));
	return 0;
}
