package stats

// Cells is how many a counter holds.
func Cells(c *Counter) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cells
}
