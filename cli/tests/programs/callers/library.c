/* A library: it calls back, and what it calls makes the segment. */
int with_library(int (*made)(int), int size)
{
	return made(size) + 0 * size; /* library */
}
