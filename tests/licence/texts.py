"""Licence texts, and what is worth knowing about them, as short as they can be and still be themselves."""

MIT = """\
The MIT License (MIT)

Copyright (c) 2010-2024 Ada Lovelace <ada@example.org>

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, subject to the following
conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions
of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED.
"""

BSD2 = """\
Copyright 2001, 2002 Grace Hopper. All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted provided that
the following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions.
2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions.
"""

BSD3 = (
    BSD2
    + """\
3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or
   promote products derived from this software without specific prior written permission.
"""
)

ISC = """\
Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby
granted, provided that the above copyright notice and this permission notice appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE.
"""

PROVISION = ", provided that the above copyright notice and this permission notice appear in all copies"
ZERO_BSD = ISC.replace(PROVISION, "")

APACHE2 = """\
                                 Apache License
                           Version 2.0, January 2004

2. Grant of Copyright License. Subject to the terms and conditions of this License, each Contributor hereby
grants to You a perpetual, worldwide, non-exclusive copyright license.

   Copyright [yyyy] [name of copyright owner]

   Licensed under the Apache License, Version 2.0 (the "License");
"""

LLVM = APACHE2 + "\n---- LLVM Exceptions to the Apache 2.0 License ----\n"

MPL2 = 'Mozilla Public License Version 2.0\n1.5. "Incompatible With Secondary Licenses"\nmeans\n'

GPL3 = """\
                    GNU GENERAL PUBLIC LICENSE
                       Version 3, 29 June 2007

 Copyright (C) 2007 Free Software Foundation, Inc. <https://fsf.org/>
 Everyone is permitted to copy and distribute verbatim copies of this license document.

  The GNU General Public License is a free, copyleft license for software and other kinds of works.
"""

LGPL3 = """\
                   GNU LESSER GENERAL PUBLIC LICENSE
                       Version 3, 29 June 2007

  This version of the GNU Lesser General Public License incorporates the terms and conditions of version 3 of
the GNU General Public License, supplemented by the additional permissions listed below.
"""

AGPL3 = """\
                    GNU AFFERO GENERAL PUBLIC LICENSE
                       Version 3, 19 November 2007

  13. Remote Network Interaction; Use with the GNU General Public License.
"""

UNLICENSE = """\
This is free and unencumbered software released into the public domain.

Anyone is free to copy, modify, publish, use, compile, sell, or distribute this software.
"""

LICENCES = {
    "MIT": (MIT, "permissive"),
    "BSD-2-Clause": (BSD2, "permissive"),
    "BSD-3-Clause": (BSD3, "permissive"),
    "ISC": (ISC, "permissive"),
    "0BSD": (ZERO_BSD, "permissive"),
    "Apache-2.0": (APACHE2, "permissive"),
    "Apache-2.0 WITH LLVM-exception": (LLVM, "permissive"),
    "MPL-2.0": (MPL2, "weak-copyleft"),
    "LGPL-3.0": (LGPL3, "weak-copyleft"),
    "GPL-3.0": (GPL3, "strong-copyleft"),
    "AGPL-3.0": (AGPL3, "network-copyleft"),
    "Unlicense": (UNLICENSE, "public-domain"),
}
