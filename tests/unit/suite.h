/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUITE_H
#define SUITE_H

/* A test program is one suite: a table of its tests, and run_suite() at the end of its main(). */

#include <CUnit/Basic.h>

/* A row of the table: a test goes by the name of its function, which says what must hold. */
#define TEST(fn) ((CU_TestInfo){#fn, fn})

/* Run the tests of a table that ends with CU_TEST_INFO_NULL, each between `set_up` and `tear_down`
 * (or NULL), and say what became of each. Returns the exit status of main(). */
static inline int run_suite_with(const char *name, CU_SetUpFunc set_up, CU_TearDownFunc tear_down,
                                 CU_TestInfo *tests)
{
    CU_SuiteInfo suites[] = {{name, NULL, NULL, set_up, tear_down, tests}, CU_SUITE_INFO_NULL};

    if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
        return 2;
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}

static inline int run_suite(const char *name, CU_TestInfo *tests)
{
    return run_suite_with(name, NULL, NULL, tests);
}

#endif
