package leaving

// Interrupt has step called after each change that another process could see.
func (s *Service) Interrupt(step func(name string) error) { s.step = step }
