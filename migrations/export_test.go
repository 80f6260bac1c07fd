package migrations

import (
	"io/fs"
	"testing/fstest"
)

// UpSteps is up, for tests with steps of their own.
var UpSteps = up

// Before are the real steps that come before the one of this name.
func Before(name string) (fs.FS, error) {
	entries, err := fs.ReadDir(files, "sql")
	if err != nil {
		return nil, err
	}
	earlier := fstest.MapFS{}
	for _, e := range entries {
		if e.Name() >= name {
			break
		}
		body, err := files.ReadFile("sql/" + e.Name())
		if err != nil {
			return nil, err
		}
		earlier[e.Name()] = &fstest.MapFile{Data: body}
	}
	return earlier, nil
}
