package document_test

import (
	"strings"
	"testing"

	"carillon/tenant/labfeed/document"
)

func TestTables(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"plain":         "test_code,result,phone,accession\n94500-6,260373001,+1 206 555 0142,A1\n",
		"other order":   "name,accession,phone,result,test_code\nWinterbourne,A1,+1 206 555 0142,260373001,94500-6\n",
		"other case":    "Test_Code, RESULT ,Phone,ACCESSION\n94500-6,260373001,+1 206 555 0142,A1\n",
		"byte mark":     "\ufefftest_code,result,phone,accession\r\n94500-6,260373001,+1 206 555 0142,A1\r\n",
		"quotes, lines": "test_code,result,phone,accession,\"no\nte\"\n94500-6,260373001,\"+1 206 555 0142\",A1,\"a \"\"b\"\"\n,c\"\n",
		"empty lines":   "test_code,result,phone,accession\n\n94500-6,260373001,+1 206 555 0142, A1 \n\n",
		"spare columns": "test_code,result,phone,accession,,\n94500-6,260373001,+1 206 555 0142,A1,,\n",
	} {
		d := read(t, document.CSV, body)
		if len(d.Results) != 1 {
			t.Errorf("%s: %d results", name, len(d.Results))
			continue
		}
		if r := d.Results[0]; r.Accession != "A1" || r.Phone != "+1 206 555 0142" || r.Status != document.Final || r.Collected != (document.Date{}) {
			t.Errorf("%s: %q %q", name, r.Accession, r.Phone)
		}
	}
	if d := read(t, document.CSV, "test_code,result,phone,accession\n"); len(d.Results)+d.Ignored != 0 {
		t.Error("a table without lines has results")
	}
	d := read(t, document.CSV, "test_code,result,phone,accession\n1-1,x,y,z\n,x,y,z\n")
	if len(d.Results) != 0 || d.Ignored != 2 {
		t.Errorf("%d results, %d ignored", len(d.Results), d.Ignored)
	}
}

func TestTableRefusals(t *testing.T) {
	t.Parallel()
	const head = "test_code,result,phone,accession\n"
	for name, body := range map[string]string{
		"no phone column": "test_code,result,accession\n94500-6,x,ACC-2026\n", "short line": head + "94500-6,x\n", "long line": head + "94500-6,x,+12065550142,z,more\n",
		"open quote": head + "94500-6,\"x,y,z\n", "quote in a cell": head + "94500-6,x\"x,+12065550142,z\n", "a column twice": "test_code,result,phone,accession,PHONE\n",
		"no header": "\n", "semicolons": "test_code;result;phone;accession\n",
	} {
		wantRefused(t, name, document.CSV, body, document.ErrMalformed)
	}
	wantRefused(t, "NUL", document.CSV, head+"94500-6,x\x00,y,z\n", document.ErrEncoding)
	wantRefused(t, "UTF-16", document.CSV, "\xff\xfet\x00e\x00", document.ErrEncoding)
	wantRefused(t, "too many lines", document.CSV, head+strings.Repeat("1,2,3,4\n", 50_001), document.ErrTooMany)
}
