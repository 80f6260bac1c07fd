package limit

import "carillon/tenant"

// Waiting is how many requests of a tenant stand in line.
func (t *Turns) Waiting(id tenant.ID) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q := t.queues[id]; q != nil {
		return len(q.waiting)
	}
	return 0
}
