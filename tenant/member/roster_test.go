package member_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"carillon/authz"
	"carillon/tenant/member"
)

const goodRoster = "name,email,roles\nRobin Müller,robin@north.example,caseworker analyst\n"

func utf16Of(text string, bigEndian bool) []byte {
	var file []byte
	for _, u := range append([]uint16{0xfeff}, utf16.Encode([]rune(text))...) {
		if bigEndian {
			file = append(file, byte(u>>8), byte(u))
		} else {
			file = append(file, byte(u), byte(u>>8))
		}
	}
	return file
}

func TestReadRosterInManyForms(t *testing.T) {
	t.Parallel()
	for name, file := range map[string][]byte{
		"plain":               []byte(goodRoster),
		"byte order mark":     []byte("\xef\xbb\xbf" + goodRoster),
		"UTF-16, little":      utf16Of(goodRoster, false),
		"UTF-16, big":         utf16Of(goodRoster, true),
		"carriage returns":    []byte(strings.ReplaceAll(goodRoster, "\n", "\r\n")),
		"semicolons":          []byte("name;email;roles\nRobin Müller;robin@north.example;caseworker,analyst\n"),
		"tabs":                []byte("name\temail\troles\nRobin Müller\trobin@north.example\tcaseworker analyst\n"),
		"columns in disorder": []byte("Roles,Name,EMAIL\ncaseworker|analyst,Robin Müller,Robin@North.example\n"),
		"quotes":              []byte("name,email,roles\n\"Robin Müller\",robin@north.example,\"caseworker, analyst\"\n"),
		"no line feed":        []byte(strings.TrimSuffix(goodRoster, "\n")),
	} {
		list, err := member.ReadRoster(file)
		if err != nil || len(list.Rows) != 1 {
			t.Errorf("%s: %+v, %v", name, list, err)
			continue
		}
		row := list.Rows[0]
		if row.Name != "Robin Müller" || row.Email != "robin@north.example" || fmt.Sprint(row.Roles) != "[caseworker analyst]" || len(row.Problems)+len(row.Doubts) != 0 || row.Line != 2 {
			t.Errorf("%s: %+v", name, row)
		}
		again, err := member.ReadRoster([]byte(list.CSV()))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(list) {
			t.Errorf("%s: as CSV it is %+v, %v", name, again, err)
		}
	}
}

func TestReadRosterSaysWhatIsWrongWithARow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		row  string
		want string
	}{
		"Latin-1":                {"M\xfcller,m@north.example,analyst", "[encoding] []"},
		"formula":                {`"=HYPERLINK(""https://evil.example"")",m@north.example,analyst`, "[formula] []"},
		"formula in the address": {"Robin,+m@north.example,analyst", "[formula] []"},
		"formula in the roles":   {"Robin,m@north.example,@analyst", "[formula] []"},
		"no name":                {",m@north.example,analyst", "[name] []"},
		"turned-around name":     {"Robin\u202e,m@north.example,analyst", "[name] []"},
		"no address":             {"Robin,north.example,analyst", "[email] []"},
		"Cyrillic address":       {"Robin,m@n\u043erth.example,analyst", "[letters] []"},
		"no roles":               {"Robin,m@north.example,", "[roles] []"},
		"a column short":         {"Robin,m@north.example", "[form] []"},
		"a column more":          {"Robin,m@north.example,analyst,owner", "[form] []"},
		"a quote that is left":   {`Robin,"m@north.example,analyst`, "[form] []"},
		"mixed alphabets":        {"R\u043ebin,m@north.example,analyst", "[] [scripts]"},
		"two alphabets":          {"Robin \u041c\u0438\u0440,m@north.example,analyst", "[] []"},
	} {
		list, err := member.ReadRoster([]byte("name,email,roles\n" + c.row + "\n"))
		if err != nil || len(list.Rows) != 1 {
			t.Errorf("%s: %+v, %v", name, list, err)
			continue
		}
		if got := fmt.Sprint(list.Rows[0].Problems, list.Rows[0].Doubts); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	list, err := member.ReadRoster([]byte(goodRoster + "Other,ROBIN@north.example,analyst\n"))
	if err != nil || fmt.Sprint(list.Rows[1].Problems) != "[repeat]" || list.New() != 1 || !list.Bad() {
		t.Errorf("an address twice: %+v, %v", list, err)
	}
}

func TestReadRosterRefusesFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file []byte
		want error
	}{
		"empty":          {nil, member.ErrRosterForm},
		"a picture":      {[]byte("\x89PNG\r\n\x1a\n\x00\x00"), member.ErrRosterForm},
		"odd UTF-16":     {[]byte("\xff\xfea"), member.ErrRosterForm},
		"other columns":  {[]byte("name,phone,roles\n"), member.ErrRosterForm},
		"no roles":       {[]byte("name,email\n"), member.ErrRosterForm},
		"more columns":   {[]byte("name,email,roles,password\n"), member.ErrRosterForm},
		"too many rows":  {[]byte("name,email,roles\n" + strings.Repeat("a,b,c\n", member.MaxRoster+1)), member.ErrRosterSize},
		"too many bytes": {make([]byte, member.MaxRosterBytes+1), member.ErrRosterSize},
	} {
		if _, err := member.ReadRoster(c.file); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func FuzzReadRoster(f *testing.F) {
	f.Add([]byte(goodRoster))
	f.Add(utf16Of(goodRoster, true))
	f.Add([]byte("name;email;roles\n=1;\"\";\xff\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		list, err := member.ReadRoster(file)
		if err != nil || list.Bad() {
			return
		}
		again, err := member.ReadRoster([]byte(list.CSV()))
		if err != nil || again.Bad() || again.New() != list.New() {
			t.Errorf("%q is %+v, and as CSV %+v, %v", file, list, again, err)
		}
	})
}

func TestAListIsComparedWithTheStaff(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	admin := o.hire("Alex", authz.Administrator)
	o.invite("Sam", authz.Caseworker)
	list, err := o.staff.Examine(t.Context(), o.at, admin, []byte("name,email,roles\n"+
		"Robin,robin@health.example,analyst\nSam,sam@health.example,analyst\nKim,kim@hea1th.example,analyst\n"+
		"Lee,lee@health.example,owner\nMax,max@health.example,janitor\nNew,new@elsewhere.example,analyst\n"))
	if err != nil || len(list.Rows) != 6 {
		t.Fatalf("%+v, %v", list, err)
	}
	var got []string
	for _, row := range list.Rows {
		got = append(got, fmt.Sprint(row.Problems, row.Doubts, row.Known))
	}
	want := []string{
		"[] [] is a member already", "[] [] is invited already", "[] [domain] <nil>", "[grant] [] <nil>", "[role] [] <nil>", "[] [] <nil>",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := o.staff.Examine(t.Context(), o.at, o.hire("Casey", authz.Caseworker), []byte(goodRoster)); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("a caseworker: %v", err)
	}
}
