// Package survival holds the whole service against being killed: processes at random
// moments, and the database under load. Real processes play the roles, simulated phones
// repeat until they are answered, and a reader looks at the published files all the time
// as phones do.
//
// What must hold whatever dies when: a key that was acknowledged is in exactly one file
// of each configuration; a code that was acknowledged as claimed stays so; the index
// never names a file that is not there; every file is signed, and none ever changes or
// leaves; windows follow each other without gap. It has tests only.
package survival
