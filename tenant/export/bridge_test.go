package export

import "os"

// Step lets tests of package export_test stop between the store's system calls.
func (s *FileStore) Step(step func(name string) error) { s.step = step }

// Write lets them have a disk of their own.
func (s *FileStore) Write(write func(f *os.File, b []byte) (int, error)) { s.writeTo = write }
